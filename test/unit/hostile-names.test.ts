import { writeFileSync, mkdtempSync, chmodSync, existsSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { guestLibvirt } from '../../shared/adapters/guest-libvirt.ts'
import { guestNovaRpc } from '../../shared/adapters/guest-nova-rpc.ts'
import { spec } from '../../shared/adapters/rbd-calls.ts'
import { Failure } from '../../shared/failures.ts'
import { glanceText, imageName, locationUrl, novaDisk } from '../../shared/names.ts'
import { defaultRules, tagWishes } from '../../shared/rules.ts'
import { hostileWords } from '../fuzz/hostile.ts'
import { inSituation, updated } from './given-notifications.ts'
import { instance, server } from './given.ts'

const signal = () => AbortSignal.timeout(5_000)
const hostile = fc.oneof(
  fc.constantFrom(...hostileWords),
  fc.string({ unit: 'binary' }),
  fc.tuple(fc.constantFrom(...hostileWords), fc.string()).map(([a, b]) => a + b),
)
const hosts = [
  'x/system?command=/tmp/evil&y=',
  'x?socket=/tmp/s#',
  'user@evil',
  '../x',
  '-c',
  'a b',
  'a\r\nb',
  'a\u0000b',
  '',
  '#',
  '*',
  'x'.repeat(248),
]

describe("a hypervisor's name", () => {
  const folder = mkdtempSync(join(tmpdir(), 'rbdsnap-virsh-'))
  const ran = join(folder, 'ran')
  const path = process.env['PATH'] ?? ''
  writeFileSync(join(folder, 'virsh'), `#!/bin/sh\necho "$@" > ${ran}\necho '{"return": "thawed"}'\n`)
  chmodSync(join(folder, 'virsh'), 0o755)
  afterEach(() => {
    process.env['PATH'] = path
    rmSync(ran, { force: true })
  })

  it.each(hosts)('is never part of what libvirt is asked when it is more than a name: %j', async (host) => {
    process.env['PATH'] = `${folder}${delimiter}${path}`
    const compute = { find: async () => server({ host }) }
    const guest = guestLibvirt({ uri: 'qemu+ssh://{host}/system', timeoutMs: 2_000 }, compute)
    await expect(guest.reach({ instance, host: null }, signal())).rejects.toBeInstanceOf(Failure)
    expect(existsSync(ran)).toBe(false)
  })

  it.each(hosts)('is never part of a routing key when it is more than a name: %j', async (host) => {
    const asked: string[] = []
    const rpc = async (name: string) => {
      asked.push(name)
      return { is: 'done' } as const
    }
    const guest = guestNovaRpc(rpc, { find: async () => server({ host }) })
    await expect(guest.reach({ instance, host: null }, signal())).rejects.toBeInstanceOf(Failure)
    expect(asked).toEqual([])
  })

  it.each(['compute-01', 'compute_01.example.com', '10.0.0.1', 'fe80::1'])(
    'is used when it is one: %s',
    async (host) => {
      const guest = guestNovaRpc(async () => ({ is: 'done' }), { find: async () => server({ host }) })
      expect(await guest.reach({ instance, host: null }, signal())).toEqual({ instance, host })
    },
  )
})

describe('whatever an object is called', () => {
  it('a specification of it has one pool, one image and one snapshot, or there is none', () => {
    fc.assert(
      fc.property(hostile, hostile, hostile, (pool, image, snap) => {
        let made: string
        try {
          made = spec({ pool, image, snap })
        } catch (error) {
          expect(error).toMatchObject({ code: 'BAD_REQUEST' })
          return
        }
        expect(made).toBe(`${pool}/${image}@${snap}`)
        expect(made).toMatch(/^[^-/@\s][^/@\s]*\/[^-/@\s][^/@\s]*@[^-/@\s][^/@\s]*$/)
      }),
      { numRuns: 2_000 },
    )
  })

  it("an instance's disk is in Nova's pool", () => {
    expect(spec(novaDisk('vms', instance))).toBe(`vms/${instance}_disk`)
    expect(() => spec(novaDisk('vms', '../images/x'))).toThrow(Failure)
  })

  it('a location leads to that image in that pool of that cluster', () => {
    fc.assert(
      fc.property(hostile, hostile, (pool, image) => {
        const parts = locationUrl('fsid', { pool: pool.toWellFormed(), image: image.toWellFormed() })
          .slice(6)
          .split('/')
        expect(parts.map(decodeURIComponent)).toEqual(['fsid', pool.toWellFormed(), image.toWellFormed(), 'snap'])
      }),
    )
  })

  it("an image's name is one line that Glance takes", () => {
    fc.assert(
      fc.property(hostile, (wanted) => {
        const name = imageName(wanted)
        // eslint-disable-next-line no-control-regex -- none of them may be left
        expect(name).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/)
        expect(name.length).toBeGreaterThan(0)
        expect(name.length).toBeLessThanOrEqual(255)
        expect(glanceText(name)).toBe(name)
      }),
    )
  })

  it.each(['\ud800', 'a\udc00b'])(
    'a tag with half of a surrogate pair, which no URL can name, is no wish: %j',
    (name) => {
      expect(tagWishes([`snapshot:${name}`, 'snapshot:\u{1f4be}'])).toEqual([
        { is: 'tag', tag: 'snapshot:\u{1f4be}', name: '\u{1f4be}' },
      ])
    },
  )

  it('the tags of one server begin no more runs at once than one server may have', async () => {
    const tags = Array.from({ length: 20 }, (_, i) => `snapshot:${i}`)
    const { begun } = await inSituation({ server: server({ tags }) }).act(updated(...tags))
    const { open } = defaultRules.limits.instance
    expect(begun.map(({ next }) => next?.step)).toEqual(tags.map((_, i) => (i < open ? 'quiesce' : 'unwind')))
  })
})
