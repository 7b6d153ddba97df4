import { lambdaStatus } from '../shared/lambda.ts'
import { statusOf, type Status } from '../shared/status.ts'
import type { Ports, Settings } from '../shared/step.ts'

/** GET /status: reads the journal, changes nothing. */
export async function status(ports: Ports, settings: Settings, nowMs: number): Promise<Status> {
  return statusOf(ports.journal, ports.leases, nowMs, settings.freezeBudgetMs)
}

export const handler = lambdaStatus(status)
