import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { belongsTo } from '../../infra/embedded/works-on.ts'

const fsid = '9b2c3d4e-0000-4000-8000-000000000001'

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rbdsnap-works-on-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

describe('a data folder', () => {
  it.each([null, fsid])('belongs to the cloud that it was begun on: %s', (cloud) => {
    belongsTo(folder, cloud)
    expect(() => belongsTo(folder, cloud)).not.toThrow()
  })

  it('of the embedded cloud is refused for a real one, and the other way round', () => {
    belongsTo(folder, null)
    expect(() => belongsTo(folder, fsid)).toThrow('the journal of the embedded cloud')
    rmSync(join(folder, 'works-on'))
    belongsTo(folder, fsid)
    expect(() => belongsTo(folder, null)).toThrow(`the journal of the cloud with the Ceph cluster ${fsid}`)
  })

  it('of one real cloud is refused for another', () => {
    belongsTo(folder, fsid)
    expect(() => belongsTo(folder, fsid.replace(/1$/, '2'))).toThrow('needs another folder')
  })

  it('from before it was written down is known by the cloud in it', () => {
    mkdirSync(join(folder, 'cloud'))
    expect(() => belongsTo(folder, fsid)).toThrow('the journal of the embedded cloud')
  })
})
