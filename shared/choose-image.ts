import { Failure } from './failures.ts'
import { imagesOf, properties } from './names.ts'
import type { Image } from './ports/images.ts'
import type { Notification } from './run.ts'
import type { Context, Ports } from './step.ts'

/**
 * Legacy notifications do not say which image: it is the newest one that Nova made for this instance before the event. When
 * that is no longer queued, the wish has been served, by Nova or by the other format's notification.
 */
export async function imageOfTakeOver(
  heard: Notification,
  named: string | null,
  ports: Pick<Ports, 'images'>,
  ctx: Context,
): Promise<Image | null> {
  if (named !== null) return ports.images.find(named, ctx.signal)
  const { instance, project, atMs } = heard
  if (!instance || !project) return null
  const clockSkewMs = 5_000
  // Anybody may write this instance's id on an image of his; Nova's image is of the instance's project.
  const made = await ports.images.ofInstance(instance, project, ctx.signal)
  const newest = made.find((i) => !isOurs(i) && i.createdAtMs <= atMs + clockSkewMs)
  return newest?.status === 'queued' ? newest : null
}

/**
 * Made by one of our runs. The mark alone says nothing: Nova copies the base image's properties onto its snapshot's record
 * (nova/utils.py get_image_from_system_metadata), ours among them when the server was booted from an image of ours.
 */
function isOurs({ id, properties: p }: Image): boolean {
  const run = p[properties.run]
  return run !== undefined && imagesOf(run).includes(id)
}

/**
 * The first of the run's ids that Glance will give us. Whoever knows an instance's id can tell them beforehand and make an
 * image under one. When all are taken the run is rejected for all to see, and the next one has others.
 */
export async function freeImage(
  run: string,
  project: string,
  ports: Pick<Ports, 'images'>,
  ctx: Context,
): Promise<string> {
  const [likely = '', ...others] = imagesOf(run)
  for (const id of [likely, ...others]) {
    if (await isFree(id, run, project, ports, ctx)) return id
  }
  return likely
}

async function isFree(
  id: string,
  run: string,
  project: string,
  ports: Pick<Ports, 'images'>,
  ctx: Context,
): Promise<boolean> {
  try {
    const there = await ports.images.find(id, ctx.signal)
    return !there || (there.owner === project && there.properties[properties.run] === run)
  } catch (error) {
    // The request is worth more than the precaution: noted now, its run waits for Glance longer than the door may.
    if (error instanceof Failure && error.kind === 'retry') return true
    throw error
  }
}
