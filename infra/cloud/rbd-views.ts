import { objectBytes } from './ceph-blocks.ts'
import type { ImageInfo } from './cluster.ts'

type Snap = ImageInfo['snaps'][number]

/** C's ctime(), without its line feed */
function ctime(ms: number): string {
  const [day, month, date, year, time] = new Date(ms).toString().split(' ')
  return `${day} ${month} ${String(Number(date)).padStart(2)} ${time} ${year}`
}

function inBinary(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const unit = units.findIndex((_, at) => bytes < 1024 ** (at + 1) || at === units.length - 1)
  const amount = bytes / 1024 ** unit
  return `${Number.isInteger(amount) ? amount : amount.toPrecision(2)} ${units[unit]}`
}

/** `rbd info --format json` of 16.2, keys in its order */
export function infoJson(info: ImageInfo, snap: Snap | null) {
  const { parent } = info
  const createdAt = ctime(info.createdAtMs)
  return {
    name: info.name,
    id: info.id,
    size: snap?.sizeBytes ?? info.sizeBytes,
    objects: Math.ceil((snap?.sizeBytes ?? info.sizeBytes) / objectBytes),
    order: 22,
    object_size: objectBytes,
    snapshot_count: info.snaps.length + info.trashedSnaps.length,
    block_name_prefix: `rbd_data.${info.id}`,
    format: 2,
    features: info.features,
    op_features: info.features.includes('operations') ? [parent ? 'clone-child' : 'clone-parent'] : [],
    flags: [],
    create_timestamp: createdAt,
    access_timestamp: createdAt,
    modify_timestamp: createdAt,
    ...(snap ? { protected: String(snap.isProtected) } : {}),
    ...(parent ? { parent: parentJson(parent) } : {}),
  }
}

function parentJson({ pool, image, snap, id, isInTrash, overlapBytes }: NonNullable<ImageInfo['parent']>) {
  return { pool, pool_namespace: '', image, id, snapshot: snap, trash: isInTrash, overlap: overlapBytes }
}

export function infoText(info: ImageInfo, snap: Snap | null): string {
  const shown = infoJson(info, snap)
  const { parent } = info
  const lines = [
    `size ${inBinary(shown.size)} in ${shown.objects} objects`,
    `order ${shown.order} (${inBinary(shown.object_size)} objects)`,
    `snapshot_count: ${shown.snapshot_count}`,
    `id: ${shown.id}`,
    `block_name_prefix: ${shown.block_name_prefix}`,
    `format: ${shown.format}`,
    `features: ${shown.features.join(', ')}`,
    `op_features: ${shown.op_features.join(', ')}`,
    'flags: ',
    `create_timestamp: ${shown.create_timestamp}`,
    `access_timestamp: ${shown.access_timestamp}`,
    `modify_timestamp: ${shown.modify_timestamp}`,
    ...(snap ? [`protected: ${snap.isProtected ? 'True' : 'False'}`] : []),
    ...(parent
      ? [`parent: ${parent.pool}/${parent.image}@${parent.snap}`, `overlap: ${inBinary(parent.overlapBytes)}`]
      : []),
  ]
  return `rbd image '${info.name}':\n${lines.map((line) => `\t${line}\n`).join('')}`
}

/** @param all also those in the trash namespace, each with its namespace */
export function snapsJson({ snaps, trashedSnaps }: ImageInfo, all: boolean) {
  const shown = (snap: Snap, type: 'user' | 'trash') => ({
    id: snap.id,
    name: snap.name,
    size: snap.sizeBytes,
    protected: String(snap.isProtected),
    timestamp: ctime(snap.createdAtMs),
    ...(all ? { namespace: { type } } : {}),
  })
  return [...snaps.map((s) => shown(s, 'user')), ...(all ? trashedSnaps : []).map((s) => shown(s, 'trash'))]
}

export function snapsText(info: ImageInfo): string {
  if (info.snaps.length === 0) return ''
  const rows = [
    ['SNAPID', 'NAME', 'SIZE', 'PROTECTED', 'TIMESTAMP'],
    ...info.snaps.map((snap) => {
      return [
        String(snap.id),
        snap.name,
        inBinary(snap.sizeBytes),
        snap.isProtected ? 'yes' : '',
        ctime(snap.createdAtMs),
      ]
    }),
  ]
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length))) ?? []
  return rows.map((row) => `${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}\n`).join('')
}

export function childrenJson(snaps: readonly Snap[], all: boolean) {
  return childrenOf(snaps, all).map(({ pool, image, id, isInTrash }) => {
    const child = { pool, pool_namespace: '', image }
    return all ? { ...child, id, trash: isInTrash } : child
  })
}

export function childrenText(snaps: readonly Snap[], all: boolean): string {
  const line = ({ pool, image, id, isInTrash }: Child) => `${pool}/${image}${isInTrash ? ` (trash ${id})` : ''}\n`
  return childrenOf(snaps, all).map(line).join('')
}

type Child = Snap['allChildren'][number]
const childrenOf = (snaps: readonly Snap[], all: boolean) =>
  snaps.flatMap((snap) => snap.allChildren).filter(({ isInTrash }) => all || !isInTrash)
