import { clusters } from './clusters.ts'
import { controlPlane } from './control-plane.ts'
import { glance } from './glance.ts'
import { identities } from './identities.ts'
import { images } from './images.ts'
import { keystone } from './keystone.ts'
import { libvirt } from './libvirt.ts'
import { mariadb } from './mariadb.ts'
import { nova } from './nova.ts'
import { packages } from './packages.ts'
import type { Part } from './part.ts'
import { bus } from './rabbitmq.ts'

/** The whole lab. What needs nothing of each other comes up side by side (up.ts). */
export const parts: Part[] = [
  packages,
  ...clusters,
  ...bus,
  mariadb,
  keystone,
  identities,
  ...controlPlane,
  ...libvirt,
  ...glance,
  ...nova,
  ...images,
]

/** @throws Error naming the parts that there are */
export function partNamed(name: string): Part {
  const part = parts.find((one) => one.name === name)
  if (part === undefined) throw new Error(`no part ${name}; there are ${parts.map((one) => one.name).join(', ')}`)
  return part
}
