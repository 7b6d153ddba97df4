import type { HalfMade } from './cluster.ts'
import { DashboardError, ManagerDied } from './dashboard-errors.ts'
import { type ListedTasks, taskList } from './dashboard-tasks.ts'

export type SlowOperation = 'flatten' | 'copy' | 'clone'

/** cherrypy's thread pool in the manager */
const workerThreads = 10
/** how long the module's RADOS handle is `configuring` after its first use */
const connectMs = 30

/**
 * One manager from its activation to its end: its tasks, its worker threads, its RADOS handle, and how it is to die.
 */
export function managerLife(options: {
  name: 'x' | 'y'
  slowMs: (operation: SlowOperation) => number
  kill: () => void
  /** of the module rbd_support, which the dashboard lists among its own */
  events: () => ListedTasks
}) {
  let isAlive = true
  let diesWith: HalfMade | undefined
  let rados: 'configuring' | 'connected' | null = null
  let busyWorkers = 0
  const waiting: (() => void)[] = []
  const wakers = new Set<() => void>()

  function checkAlive() {
    if (!isAlive) throw new ManagerDied()
  }

  function sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer)
        wakers.delete(wake)
        resolve()
      }
      const timer = setTimeout(wake, ms)
      wakers.add(wake)
    })
  }

  function wakeAll() {
    for (const wake of wakers) wake()
  }

  return {
    name: options.name,
    isAlive: () => isAlive,
    tasks: taskList(() => isAlive, options.events),
    end() {
      isAlive = false
      wakeAll()
    },

    /** The clone that waits, or else the next one, stops there, and the manager dies with it. */
    dieInClone(form: HalfMade) {
      diesWith = form
      wakeAll()
    },
    cloneDiesWith: () => diesWith,
    dieNow(): never {
      options.kill()
      throw new ManagerDied()
    },

    /** As long as the operation was told to take; a manager killed meanwhile does not go on. */
    async pause(operation: SlowOperation) {
      checkAlive()
      const ms = options.slowMs(operation)
      const isHurried = operation === 'clone' && diesWith !== undefined
      if (ms > 0 && !isHurried) await sleep(ms)
      checkAlive()
    },

    /** The first calls after a manager's start: one configures the handle, what comes beside it is refused. */
    async useRados() {
      if (rados === 'connected') return
      if (rados === 'configuring') {
        const detail = 'You cannot perform that operation on a Rados object in state configuring.'
        throw new DashboardError(detail, { code: 'RadosStateError', component: 'pool' })
      }
      rados = 'configuring'
      await sleep(connectMs)
      rados = 'connected'
    },

    async onWorker<T>(work: () => Promise<T>): Promise<T> {
      if (busyWorkers >= workerThreads) await new Promise<void>((resolve) => waiting.push(resolve))
      else busyWorkers += 1
      try {
        return await work()
      } finally {
        const next = waiting.shift()
        if (next) next()
        else busyWorkers -= 1
      }
    },
  }
}
export type ManagerLife = ReturnType<typeof managerLife>
