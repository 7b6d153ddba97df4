import type { Cluster, ImageInfo } from './cluster.ts'
import { RbdError } from './cluster.ts'
import { doing, HttpError, refuse } from './dashboard-errors.ts'
import { text } from './dashboard-route.ts'

interface ImageSpec {
  pool: string
  image: string
}

export const may = (permission: string) => ({ scope: 'rbd-image', permission })

/** `pool/image`; a namespace stays with the image's name, and there is none of that name. */
export function parseSpec(spec: string): ImageSpec {
  const at = spec.indexOf('/')
  if (at < 0) throw new Error('not enough values to unpack (expected 2, got 1)')
  return { pool: spec.slice(0, at), image: spec.slice(at + 1) }
}

/** The image that a call is about. */
export function source(args: Record<string, unknown>): ImageSpec {
  return parseSpec(text(args, 'image_spec'))
}

/** Python prints librbd's names as bytes. */
export const py = (name: string) => `b'${name}'`

export function openImage(cluster: Cluster, { pool, image }: ImageSpec): ImageInfo {
  return doing(`error opening image ${py(image)} at snapshot None`, () => cluster.info(pool, image))
}

/**
 * RbdService.get_image: a snapshot in the trash namespace makes the binding fail, which is answered as if the image
 * were gone (ceph/ceph#57151).
 */
export function visibleImage(cluster: Cluster, { pool, image }: ImageSpec): ImageInfo {
  try {
    const info = cluster.info(pool, image)
    if (info.trashedSnaps.length === 0) return info
  } catch (error) {
    if (!(error instanceof RbdError)) throw error
    if (error.component === 'pool') return refuse(error, '')
  }
  throw new HttpError(404, 'Image not found')
}

export function featureList(value: unknown): string[] | undefined {
  if (typeof value === 'string') return value.split(',')
  return Array.isArray(value) ? value.map(String) : undefined
}

export async function removeSnap(cluster: Cluster, spec: ImageSpec, snap: string, isProtected: boolean) {
  const { pool, image } = spec
  openImage(cluster, spec)
  if (isProtected) {
    doing(`error unprotecting snapshot ${py(snap)} from ${py(image)}`, () => cluster.snapUnprotect(pool, image, snap))
  }
  await doing(`error removing snapshot ${py(snap)} from ${py(image)}`, () => cluster.snapRemove(pool, image, snap))
}
