import { describe, expect, it } from 'vitest'
import { readBusUrl } from '../../shared/adapters/bus-url.ts'
import { Failure } from '../../shared/failures.ts'

describe("the bus's address", () => {
  it.each([
    ['rabbit://nova:secret@one', 'amqp://nova:secret@one:5672/%2F'],
    ['rabbit://nova:secret@one:5672/', 'amqp://nova:secret@one:5672/%2F'],
    ['rabbit://nova:secret@one:5672//', 'amqp://nova:secret@one:5672/%2F'],
    ['rabbit://nova:secret@one:5672/nova', 'amqp://nova:secret@one:5672/nova'],
    ['rabbit://nova:secret@[::1]:5673/a%2Fb', 'amqp://nova:secret@[::1]:5673/a%2Fb'],
    ['rabbit://nova:p%40ss:wo%2Frd@one/', 'amqp://nova:p%40ss%3Awo%2Frd@one:5672/%2F'],
    ['rabbit://nova:100%@one/', 'amqp://nova:100%25@one:5672/%2F'],
    ['rabbit://nova:secret@one:5671/?ssl=1', 'amqps://nova:secret@one:5671/%2F'],
    ['amqps://nova:secret@one/%2F', 'amqps://nova:secret@one:5671/%2F'],
    ['amqp://one', 'amqp://one:5672/%2F'],
  ])('%s', (given, url) => {
    expect(readBusUrl(given).urls).toEqual([url])
  })

  it('of a cluster has every node, in their order', () => {
    expect(readBusUrl('rabbit://a:x@one:5672,b:y@two:5673,three/v')).toEqual({
      urls: ['amqp://a:x@one:5672/v', 'amqp://b:y@two:5673/v', 'amqp://a:x@three:5672/v'],
      nodes: ['one:5672', 'two:5673', 'three:5672'],
    })
  })

  it.each([
    '',
    'one:5672',
    'http://a:hush@one',
    'rabbit://',
    'rabbit:///v',
    'rabbit://a:hush@one:port/',
    'rabbit://a:hush@one/\ud800',
    'rabbit://a:hush\udc00@one/',
  ])('%j is none, and is not repeated in words', (given) => {
    const failure = (() => {
      try {
        return readBusUrl(given)
      } catch (error) {
        return error
      }
    })()
    expect(failure).toBeInstanceOf(Failure)
    expect(failure).toMatchObject({ code: 'BAD_SETTING', words: expect.not.stringContaining('hush') as unknown })
  })
})
