import { describe, expect, it } from 'vitest'
import { blacken } from '../../shared/blacken.ts'

const r = String.raw

describe('a text is blackened', () => {
  it.each([
    ['the value of a key that says so', r`{"password":"hunter2","a":1}`, r`{"password":"(removed)","a":1}`],
    ['a key with a dash, in any case', r`{"X-Auth-Token": "abc"}`, r`{"X-Auth-Token": "(removed)"}`],
    ['a number', r`{"admin_pass": 1234, "a": 1}`, r`{"admin_pass": null, "a": 1}`],
    ['a list', r`{"tokens": ["a", "b]"], "a": 1}`, r`{"tokens": null, "a": 1}`],
    ['an object', r`{"credentials": {"id": "a", "b": [1, "}"]}, "a": 1}`, r`{"credentials": null, "a": 1}`],
    [
      'every _context_ key',
      r`{"_context_user":"u","_context":{"a":1}}`,
      r`{"_context_user":"(removed)","_context":null}`,
    ],
    ['a value with a quote in it', r`{"secret":"ab\"cd","a":1}`, r`{"secret":"(removed)","a":1}`],
    ['a value that ends with a backslash', r`{"secret":"ab\\","a":1}`, r`{"secret":"(removed)","a":1}`],
    [
      'JSON that is quoted once more',
      r`"{\"token\": \"ab\\\"cd\", \"a\": 1}"`,
      r`"{\"token\": \"(removed)\", \"a\": 1}"`,
    ],
    ['a value that is cut off', r`{"a":1,"token":"abc`, r`{"a":1,"token":"(removed)"`],
    ['a list that is cut off', r`{"a":1,"tokens":["abc","d`, r`{"a":1,"tokens":null`],
    ["Python's own notation", r`{'auth_token': 'abc', 'a': 1}`, r`{'auth_token': '(removed)', 'a': 1}`],
    ['a Fernet token anywhere', 'as gAAAAABkX9_abc-DEF== said', 'as (removed) said'],
    ['a JWT anywhere', 'Bearer eyJhbGciOiJFUzI1NiJ9.eyJleHAiOjF9.c2ln end', 'Bearer (removed) end'],
    ['a password in a URL', 'rabbit://nova:p@ss@controller-01:5672/', 'rabbit://nova:(removed)@controller-01:5672/'],
  ])('of %s', (_what, text, clean) => {
    expect(blacken(text)).toBe(clean)
  })

  it('of nothing that is no secret', () => {
    const text = r`{"says":"begun","code":"NAME_TAKEN","at":"2026-11-23T10:00:00Z","url":"rbd://fsid/images/id/snap","n":[1]}`
    expect(blacken(text)).toBe(text)
  })

  it('and a second time changes nothing', () => {
    const once = blacken(r`{"token":"a\"b","x":{"passwords":[1,2]},"u":"amqp://a:b@c/"}`)
    expect(blacken(once)).toBe(once)
  })

  /** A quadratic pattern would take minutes for any of these. */
  it.each([
    'a',
    '\\',
    '"',
    '"token',
    '"token":"',
    '"token":{',
    '"token":[{"',
    '"a" : ',
    'eyJ',
    'eyJa.',
    'gAAAAA',
    '://a:',
    '://a:b@',
    "'t':'",
  ])('in no time when it is 1 MiB of %j', (piece) => {
    const text = piece.repeat(Math.ceil(2 ** 20 / piece.length))
    const startedAt = performance.now()
    blacken(text)
    expect(performance.now() - startedAt).toBeLessThan(2_000)
  })
})
