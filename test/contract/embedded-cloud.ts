import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Cloud, startCloud } from '../../infra/cloud/main.ts'
import type { Clock } from '../../shared/ports/clock.ts'

export const clock: Clock = { nowMs: () => Date.now() }

/** Quicker than a real Ceph, in the same order. */
export const takeover = { takeoverMs: 400, failoverMs: 200, respawnMs: 200 }

/** An embedded cloud in a folder of its own. */
export async function openTestCloud(cloneFormat: 1 | 2): Promise<{ cloud: Cloud; close: () => Promise<void> }> {
  // short: a guest's socket is in it, and sockaddr_un has 108 bytes
  const dataDir = mkdtempSync(join(tmpdir(), 'rbdsnap-'))
  const cloud = await startCloud({ dataDir, paxosProposeIntervalMs: 20, heldMs: 100, cloneFormat, ...takeover })
  return {
    cloud,
    async close() {
      await cloud.close()
      rmSync(dataDir, { recursive: true, force: true })
    },
  }
}

export function setting(cloud: Cloud, name: string): string {
  const value = cloud.env[name]
  if (value === undefined) throw new Error(`the embedded cloud has no ${name}`)
  return value
}
