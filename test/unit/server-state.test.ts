import { describe, expect, it } from 'vitest'
import { isOff, isWorkingOnImage, mayWorkOnImage } from '../../shared/server-state.ts'
import { nowMs, server } from './given.ts'

describe('a server', () => {
  it.each(['image_snapshot_pending', 'image_snapshot', 'image_backup', 'image_pending_upload', 'image_uploading'])(
    'is being snapshotted by Nova in the task state %s',
    (taskState) => {
      expect(isWorkingOnImage(server({ taskState }))).toBe(true)
    },
  )

  it.each([null, 'deleting', 'powering-off', 'shelving_image_uploading'])(
    'is not being snapshotted by Nova in the task state %s',
    (taskState) => {
      expect(isWorkingOnImage(server({ taskState }))).toBe(false)
    },
  )

  it('that is being deleted may still be snapshotted, and one that is gone for half an hour', () => {
    expect(mayWorkOnImage(server({ taskState: 'deleting' }), 0, nowMs)).toBe(true)
    expect(mayWorkOnImage(null, nowMs - 1_799_999, nowMs)).toBe(true)
    expect(mayWorkOnImage(null, nowMs - 1_800_000, nowMs)).toBe(false)
    expect(mayWorkOnImage(server(), nowMs, nowMs)).toBe(false)
  })

  it.each([
    ['active', false],
    ['rescued', false],
    ['resized', false],
    ['building', false],
    ['stopped', true],
    ['shelved_offloaded', true],
  ])('that is %s is off: %s', (vmState, expected) => {
    expect(isOff(server({ vmState }))).toBe(expected)
  })
})
