import { resolve } from 'node:path'
import { Failure } from '../../shared/failures.ts'
import type { Journal, Leases } from '../../shared/ports/journal.ts'
import { statusOf, type Status } from '../../shared/status.ts'
import { backlog, type Backlog } from '../bridge/backlog.ts'
import { readBusSettings } from '../bridge/settings.ts'
import { runningStack } from '../embedded/stack.ts'

/** What the function `status` says, and how far behind the bridges are, which RabbitMQ knows. */
export interface WholeStatus extends Status {
  /** null where there is no RabbitMQ, or it does not answer */
  notifications: Backlog | null
}

const manyWaiting = 1_000

export async function wholeStatus(
  journal: Journal,
  leases: Leases,
  env: Record<string, string | undefined>,
): Promise<WholeStatus> {
  const budgetMs = Number(env['RBDSNAP_FREEZE_BUDGET_MS'] ?? 5_000)
  const [status, bus] = await Promise.all([statusOf(journal, leases, Date.now(), budgetMs), lookAtBus(env)])
  const checks = [...status.checks, ...bus.checks]
  const health = status.health === 'HEALTH_OK' && checks.length > 0 ? 'HEALTH_WARN' : status.health
  const { runs, frozen, parked, at } = status
  return { health, checks, notifications: bus.notifications, runs, frozen, parked, at }
}

/** The bus of the stack that runs over RBDSNAP_DATA_DIR; else the environment's. */
async function lookAtBus(
  env: Record<string, string | undefined>,
): Promise<{ notifications: Backlog | null; checks: Status['checks'] }> {
  const dataDir = env['RBDSNAP_DATA_DIR']
  const settings = (dataDir ? runningStack(resolve(dataDir))?.env : undefined) ?? env
  if (!settings['RBDSNAP_BUS_URL']) return { notifications: null, checks: [] }
  try {
    const notifications = await backlog(readBusSettings(settings))
    return { notifications, checks: judge(notifications) }
  } catch (error) {
    const summary = `RabbitMQ does not say: ${error instanceof Failure ? error.words : (error as Error).message}`
    return { notifications: null, checks: [{ code: 'BUS_UNREACHABLE', severity: 'warn', summary }] }
  }
}

function judge({ waiting, bridges }: Backlog): Status['checks'] {
  if (bridges === 0)
    return [{ code: 'NO_BRIDGE', severity: 'warn', summary: `nobody carries notifications; ${waiting} wait` }]
  if (waiting >= manyWaiting)
    return [{ code: 'BRIDGE_BEHIND', severity: 'warn', summary: `${waiting} notifications wait on the bus` }]
  return []
}
