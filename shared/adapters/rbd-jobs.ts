import type { Reply } from './rbd-calls.ts'
import { ended, lastOf, type RbdCommand, replyOf, start } from './rbd-process.ts'
import { orAbort } from './wait.ts'

interface Job {
  percent: number | null
  end: Promise<Reply>
}

export interface Work {
  key: string
  what: string
  args: string[]
  /** a part of the work that comes after a good end of the command */
  afterwards?: () => Promise<void>
}

export interface Jobs {
  /** Starts the work unless it is under way; tells how it ended, or how it ended since it was last asked about. */
  begin(work: Work, signal: AbortSignal): Promise<Reply>
  underWay(key: string): { fraction: number | null } | null
  /** How it failed; told once. */
  failed(key: string): Reply | null
}

/**
 * Flatten and copy take as long as the disk has data, and the command stays with them. They go on behind the step that began
 * them, in this process; when it dies they die with it, and the state of the images tells what is left to do.
 */
export function rbdJobs(rbd: RbdCommand, heldMs: number): Jobs {
  const jobs = new Map<string, Job>()
  const failures = new Map<string, Reply>()

  function launch({ key, what, args, afterwards }: Work): Job {
    const child = start(rbd, args)
    const job: Job = { percent: null, end: Promise.resolve({ is: 'ok' }) }
    const stderr = lastOf(child.stderr, (text) => {
      job.percent = percentIn(text) ?? job.percent
    })
    child.stdout.resume()
    job.end = ended(child, what)
      .then(async (code) => {
        const reply = replyOf(what, { code, stderr: await stderr })
        if (reply.is === 'ok') await afterwards?.()
        else failures.set(key, reply)
        return reply
      })
      .finally(() => jobs.delete(key))
    // its end is heard also when nobody waits for it any more: the next call begins again and meets the same
    job.end.catch(() => undefined)
    return job
  }

  function failed(key: string): Reply | null {
    const reply = failures.get(key) ?? null
    failures.delete(key)
    return reply
  }

  return {
    async begin(work, signal) {
      const { key } = work
      const before = jobs.has(key) ? null : failed(key)
      if (before) return before
      const job = jobs.get(key) ?? launch(work)
      jobs.set(key, job)
      const held = new Promise<Reply>((resolve) => setTimeout(resolve, heldMs, { is: 'started' }).unref())
      const reply = await orAbort(Promise.race([job.end, held]), signal, work.what)
      if (reply.is === 'errno') failures.delete(key)
      return reply
    },
    underWay(key) {
      const job = jobs.get(key)
      return job ? { fraction: job.percent === null ? null : job.percent / 100 } : null
    },
    failed,
  }
}

/** `Image flatten: 42% complete...` */
function percentIn(text: string): number | null {
  const last = [...text.matchAll(/(\d+)% complete/g)].at(-1)?.[1]
  return last === undefined ? null : Number(last)
}
