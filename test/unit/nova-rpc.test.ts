import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type Call, decodeReply, encode } from '../../shared/adapters/nova-rpc.ts'
import { Failure } from '../../shared/failures.ts'
import { instance } from './given.ts'

interface Captured {
  body: { 'oslo.version': string; 'oslo.message': string }
}

/** As Nova's own client sent it (Zed). */
function captured(method: Call['method']): { envelope: Record<string, unknown>; message: Record<string, unknown> } {
  const path = join(import.meta.dirname, 'nova-rpc', `${method}-by-nova.json`)
  const { body } = JSON.parse(readFileSync(path, 'utf8')) as Captured
  return { envelope: { ...body }, message: JSON.parse(body['oslo.message']) as Record<string, unknown> }
}

function ours(method: Call['method'], version = '6.0') {
  const body = JSON.parse(encode({ method, version, instance }, 'an-id', 'reply_x').toString()) as Captured['body']
  return { envelope: { ...body }, message: JSON.parse(body['oslo.message']) as Record<string, unknown> }
}

const reply = (inner: object) =>
  Buffer.from(JSON.stringify({ 'oslo.version': '2.0', 'oslo.message': JSON.stringify(inner) }))
const failed = (failure: object) => reply({ _msg_id: 'an-id', failure: JSON.stringify(failure), ending: true })

describe("a call of Nova's RPC", () => {
  it.each(['quiesce_instance', 'unquiesce_instance'] as const)(
    'has no key that Nova itself does not send: %s',
    (method) => {
      const nova = { ...captured('quiesce_instance').message, ...captured(method).message }
      const { envelope, message } = ours(method)
      expect(Object.keys(envelope)).toEqual(Object.keys(captured(method).envelope))
      expect(Object.keys(nova)).toEqual(expect.arrayContaining(Object.keys(message)))
      expect(message).toMatchObject({ method: nova['method'], version: nova['version'] })
    },
  )

  it('names the instance as Nova does, by an object of which no more than its id is known', () => {
    const { args } = ours('quiesce_instance').message
    expect(args).toEqual({
      instance: {
        'nova_object.name': 'Instance',
        'nova_object.namespace': 'nova',
        'nova_object.version': '2.0',
        'nova_object.data': { uuid: instance },
        'nova_object.changes': [],
      },
    })
    const nova = captured('quiesce_instance').message['args'] as { instance: Record<string, unknown> }
    expect(nova.instance).toMatchObject({ 'nova_object.name': 'Instance', 'nova_object.namespace': 'nova' })
  })

  it('asks for its answer, and carries no token', () => {
    const { message } = ours('unquiesce_instance', '5.0')
    expect(message).toMatchObject({ _msg_id: 'an-id', _reply_q: 'reply_x', version: '5.0' })
    expect(JSON.stringify(message)).not.toMatch(/token/)
  })
})

describe("the answer of Nova's RPC", () => {
  it('is that it was done', () => {
    const body = reply({ result: null, failure: null, ending: true, _msg_id: 'an-id', _unique_id: 'x' })
    expect(decodeReply(body)).toEqual({ id: 'an-id', reply: { is: 'done' } })
  })

  it("is an exception's class and message, without the traceback that the conductor puts there", () => {
    const message = 'Instance I could not be found.\nTraceback (most recent call last):\n  File "x"'
    expect(decodeReply(failed({ class: 'InstanceNotFound', module: 'nova.exception', message, tb: [] })).reply).toEqual(
      {
        is: 'failed',
        error: 'InstanceNotFound',
        words: 'Instance I could not be found.',
      },
    )
  })

  it('may be a failure that cannot be read', () => {
    const body = reply({ _msg_id: 'an-id', failure: 'something else' })
    expect(decodeReply(body).reply).toEqual({ is: 'failed', error: 'unknown', words: 'something else' })
  })

  it.each(['', '{}', '{"oslo.message": "x"}', '{"oslo.message": "{}"}'])('is not %j', (body) => {
    expect(() => decodeReply(Buffer.from(body))).toThrow(Failure)
  })
})
