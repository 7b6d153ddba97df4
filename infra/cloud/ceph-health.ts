/** What the monitors say of pools that take no more, as `ceph health detail` has it (OSDMap::check_health); null while all take more. */
export function poolFull(pools: string[]) {
  if (pools.length === 0) return null
  return {
    severity: 'HEALTH_WARN',
    summary: { message: `${pools.length} pool(s) full`, count: pools.length },
    detail: pools.map((pool) => ({ message: `pool '${pool}' is full (running out of quota)` })),
    muted: false,
  }
}
