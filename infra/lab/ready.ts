import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { host } from './ports.ts'

/** Asks again and again; a question that fails is not answered yet. False when the time is over or `isOver` says so. */
export async function eventually(
  isTrue: () => Promise<boolean>,
  { withinMs, everyMs = 200, isOver = () => false }: { withinMs: number; everyMs?: number; isOver?: () => boolean },
): Promise<boolean> {
  const endAtMs = Date.now() + withinMs
  for (;;) {
    if (await isTrue().catch(() => false)) return true
    if (Date.now() > endAtMs || isOver()) return false
    await sleep(everyMs)
  }
}

export const listens = (port: number) => (): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ host, port })
    const end = (isUp: boolean) => {
      socket.destroy()
      resolve(isUp)
    }
    socket.once('connect', () => end(true))
    socket.once('error', () => end(false))
  })

/** Any answer is one, but for `5xx`. */
export const answers = (url: string) => async (): Promise<boolean> => {
  const answer = await fetch(url, { redirect: 'manual', signal: AbortSignal.timeout(5_000) })
  await answer.body?.cancel()
  return answer.status < 500
}
