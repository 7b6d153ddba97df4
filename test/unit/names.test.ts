import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  glanceText,
  glanceVolume,
  imageName,
  imageOf,
  locationUrl,
  nameAfter,
  novaDisk,
  show,
  sourceSnap,
  tagRun,
  takeOverRun,
  temporaryCopy,
  uuidv5,
} from '../../shared/names.ts'
import { disk, instance, tagWish } from './given.ts'

/** RFC 9562 5.5 step by step, with any namespace; the published vector of appendix A.4 vouches for it. */
function publishedUuidv5(namespace: string, name: string): string {
  const digits = createHash('sha1')
    .update(Buffer.from(namespace.replaceAll('-', ''), 'hex'))
    .update(name)
    .digest('hex')
    .slice(0, 32)
  const variant = ((parseInt(digits[16] ?? '', 16) & 0b0011) | 0b1000).toString(16)
  const whole = `${digits.slice(0, 12)}5${digits.slice(13, 16)}${variant}${digits.slice(17)}`
  return whole.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}
const ours = '5a3f1d0e-9c6b-5e0a-8f51-6e6f76612d72'

describe('the name of an image that was given none', () => {
  it('ends with what tells it from the others, however long the name of its server', () => {
    expect(nameAfter('web', 'power_off', '2026-11-23T100000')).toBe('web-power_off-2026-11-23T100000')
    const long = nameAfter('n'.repeat(255), 'power_off', '2026-11-23T100000')
    expect(long).toHaveLength(255)
    expect(long).toMatch(/^n+-power_off-2026-11-23T100000$/)
    expect(nameAfter('💾'.repeat(255), 'x')).toMatch(/-x$/)
  })
})

describe('a UUID of a name', () => {
  it('is what RFC 9562 makes of it in our namespace', () => {
    expect(publishedUuidv5('6ba7b810-9dad-11d1-80b4-00c04fd430c8', 'www.example.com')).toBe(
      '2ed6657d-e927-568b-95e1-2665a8aea6a2',
    )
    const isSame = (name: string) => uuidv5(name) === publishedUuidv5(ours, name)
    fc.assert(fc.property(fc.string({ unit: 'binary' }), isSame))
  })

  it('never changes from one version of rbdsnap to the next: images and snapshots bear it', () => {
    expect(takeOverRun('56813989-0617-48bf-bca3-9bbe9caca90f')).toBe('4be0dbd7-465a-5cdb-a774-8e8236e56347')
    expect(tagRun(instance, 'snapshot', 1)).toBe('bb1de758-e4a2-5738-96c9-0d349bf6a26c')
    expect(imageOf('aaaaaaaa-0000-5000-8000-000000000001', 1)).toBe('c9c71075-164d-509e-9623-484be67372b7')
  })

  it('is another for each wish, epoch and attempt', () => {
    const all = [
      tagRun(instance, 'snapshot', 1),
      tagRun(instance, 'snapshot', 2),
      tagRun(instance, 'snapshot:1', 1),
      tagRun(instance.replace('2', '3'), 'snapshot', 1),
      takeOverRun(instance),
      imageOf(instance, 1),
      imageOf(instance, 2),
    ]
    expect(new Set(all).size).toBe(all.length)
  })
})

describe('the names of what a run makes', () => {
  it('are the run and, where Nova and Glance look for it, the image', () => {
    expect(show(novaDisk('vms', instance))).toBe(`vms/${instance}_disk`)
    expect(show(sourceSnap(tagWish, disk))).toBe(`vms/${instance}_disk@rbdsnap-${tagWish.run}`)
    expect(show(glanceVolume(tagWish, 'images'))).toBe(`images/${tagWish.image}`)
    expect(show(temporaryCopy(tagWish, 'images'))).toBe(`images/rbdsnap-${tagWish.run}-copy`)
  })

  it('stand in a location as glance_store reads it, each part quoted', () => {
    expect(locationUrl('fsid', { pool: 'images', image: 'i' })).toBe('rbd://fsid/images/i/snap')
    expect(locationUrl('fsid', { pool: 'a/b c@d', image: 'i' })).toBe('rbd://fsid/a%2Fb%20c%40d/i/snap')
    const parts = locationUrl('f', { pool: 'ü/%', image: 'x@y' })
      .slice('rbd://'.length)
      .split('/')
      .map(decodeURIComponent)
    expect(parts).toEqual(['f', 'ü/%', 'x@y', 'snap'])
  })
})

describe('the name of an image', () => {
  it.each([
    ['before/upgrade@home', 'before/upgrade@home'],
    ['two\nlines\tand\u0000more', 'two lines and more'],
    ['  around  ', 'around'],
    ['', 'snapshot'],
    ['\n', 'snapshot'],
    ['Übergrößenträger', 'Übergrößenträger'],
    // Glance's database answers 400 to anything beyond the basic plane
    ['disk 💾 full', 'disk \ufffd full'],
    ['half \ud83d', 'half \ufffd'],
  ])('made from %j is %j', (wanted, name) => {
    expect(imageName(wanted)).toBe(name)
  })

  it('is cut to 255 characters, not bytes', () => {
    expect(imageName('ß'.repeat(300))).toBe('ß'.repeat(255))
    expect(imageName('💾'.repeat(300)).length).toBeLessThanOrEqual(255)
  })

  it('is something that Glance takes, whatever a tenant calls his server', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 400 }), (wanted) => {
        const name = imageName(wanted)
        expect(name.length).toBeGreaterThan(0)
        expect(name.length).toBeLessThanOrEqual(255)
        expect(name.isWellFormed()).toBe(true)
        expect(name).not.toMatch(/[\u{10000}-\u{10ffff}\p{Cc}\u2028\u2029]/u)
      }),
    )
  })
})

describe('a text for a property of an image', () => {
  it('keeps its lines and is cut to 255 characters', () => {
    expect(glanceText('a\nb')).toBe('a\nb')
    expect(glanceText('x'.repeat(300))).toHaveLength(255)
  })
})
