import { DashboardError, HttpError, ManagerDied } from './dashboard-errors.ts'

type Metadata = Record<string, unknown>
interface TaskError extends ReturnType<typeof bodyOf> {
  status: number
  task: { name: string; metadata: Metadata }
}
interface Task {
  name: string
  metadata: Metadata
  beganMs: number
  endedMs: number | null
  error: TaskError | null
  settled: Promise<void>
}
/** The manager's other modules have work as well, and the dashboard lists it whatever name was asked for. */
export interface ListedTasks {
  executing_tasks: object[]
  finished_tasks: object[]
}
type Outcome = { is: 'done' } | { is: 'executing' } | { is: 'refused'; error: TaskError }

const keptFinished = 10
const finishedTtlMs = 60_000

/** The task manager of one dashboard: in memory, so every task dies with its manager. */
export function taskList(isAlive: () => boolean, events: () => ListedTasks) {
  const executing = new Set<Task>()
  let finished: Task[] = []

  function start(name: string, metadata: Metadata, work: () => Promise<unknown>): Task {
    const task: Task = { name, metadata, beganMs: Date.now(), endedMs: null, error: null, settled: Promise.resolve() }
    task.settled = work()
      .catch((error: unknown) => {
        if (error instanceof ManagerDied || !isAlive()) return
        task.error = { ...bodyOf(error), status: statusOf(error), task: { name, metadata } }
      })
      .then(() => {
        if (!isAlive()) return new Promise<void>(() => undefined)
        task.endedMs = Date.now()
        executing.delete(task)
        finished.push(task)
        return undefined
      })
    executing.add(task)
    return task
  }

  /** The dashboard forgets only when somebody lists, and only among what that filter matched. */
  function forgetOld(matching: readonly Task[]) {
    const old = new Set(
      matching.filter((task, at) => at >= keptFinished && Date.now() - (task.endedMs ?? 0) > finishedTtlMs),
    )
    finished = finished.filter((task) => !old.has(task))
  }

  return {
    /**
     * One with the same name and metadata that is under way is joined. What takes longer than `heldMs` goes on without
     * us.
     */
    async run(name: string, metadata: Metadata, heldMs: number, work: () => Promise<unknown>): Promise<Outcome> {
      const key = JSON.stringify(metadata)
      const same = [...executing].find((task) => task.name === name && JSON.stringify(task.metadata) === key)
      const task = same ?? start(name, metadata, work)
      const isSettled = await settlesWithin(task.settled, heldMs)
      if (!isSettled) return { is: 'executing' }
      return task.error ? { is: 'refused', error: task.error } : { is: 'done' }
    },

    list(glob: string | null) {
      const wanted = globPattern(glob ?? '*')
      const running = [...executing].filter((task) => wanted.test(task.name)).sort((a, b) => b.beganMs - a.beganMs)
      const done = finished.filter((task) => wanted.test(task.name)).sort((a, b) => (b.endedMs ?? 0) - (a.endedMs ?? 0))
      forgetOld(done)
      const others = events()
      return {
        executing_tasks: [...others.executing_tasks, ...running.map(executingTask)],
        finished_tasks: [...others.finished_tasks, ...done.map(finishedTask)],
      }
    },
  }
}

async function settlesWithin(settled: Promise<void>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const patience = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), ms)
  })
  const isSettled = await Promise.race([settled.then(() => true), patience])
  clearTimeout(timer)
  return isSettled
}

function bodyOf(error: unknown) {
  const known = error instanceof HttpError ? error.inTask() : error
  return known instanceof DashboardError ? known.body : { detail: (error as Error).message, component: null }
}

function statusOf(error: unknown): number {
  return error instanceof DashboardError || error instanceof HttpError ? error.status : 500
}

/** Python's isoformat() with the dashboard's `Z` */
export function isoTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, -1)}000Z`
}

/** `progress` stays 0 while a task runs: nothing in the dashboard moves it. */
function executingTask(task: Task) {
  return { name: task.name, metadata: task.metadata, begin_time: isoTime(task.beganMs), progress: 0 }
}

function finishedTask(task: Task) {
  const endedMs = task.endedMs ?? task.beganMs
  return {
    ...executingTask(task),
    progress: task.error ? 0 : 100,
    end_time: isoTime(endedMs),
    duration: (endedMs - task.beganMs) / 1000,
    success: task.error === null,
    ret_value: null,
    exception: task.error,
  }
}

function globPattern(glob: string): RegExp {
  const escaped = glob.replace(/[.+^${}()|[\]\\]/g, '\\$&')
  return new RegExp(`^${escaped.replaceAll('*', '.*').replaceAll('?', '.')}$`)
}
