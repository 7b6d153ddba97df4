/** Where everything listens, on loopback only. */
export const host = '127.0.0.1'
export const ports = {
  keystone: 5000,
  glancePublic: 9292,
  glanceInternal: 9293,
  nova: 8774,
  placement: 8778,
  neutron: 9696,
  rabbitmq: 5672,
  rabbitmqManagement: 15672,
  /** not Erlang's own 4369: another RabbitMQ of this machine may have it */
  epmd: 4370,
  mariadb: 3306,
  libvirt: 16509,
  dashboards: { x: 8443, y: 8444 },
  monitor: 3300,
  otherMonitor: 3310,
} as const

const http = (port: number) => `http://${host}:${port}`
export const urls = {
  keystone: `${http(ports.keystone)}/v3`,
  glancePublic: http(ports.glancePublic),
  glanceInternal: http(ports.glanceInternal),
  nova: `${http(ports.nova)}/v2.1`,
  placement: http(ports.placement),
  neutron: http(ports.neutron),
  rabbitmqManagement: http(ports.rabbitmqManagement),
  dashboardX: http(ports.dashboards.x),
  dashboardY: http(ports.dashboards.y),
  libvirt: `qemu+tcp://${host}:${ports.libvirt}/system`,
} as const
export const region = 'RegionOne'
/** How Nova and libvirt call the one hypervisor. */
export const hypervisor = 'compute-01'
