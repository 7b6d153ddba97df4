import { command } from '../../../infra/lab/command.ts'
import { killPart, startPart } from '../../../infra/lab/control.ts'
import { pidOf } from '../../../infra/lab/process.ts'
import type { RbdImage } from '../../../shared/ports/volumes.ts'
import type { Story } from './story.ts'

/** Ceph's managers, killed as a machine dies that loses power. */

async function activeManager({ ceph }: Story): Promise<string> {
  const { active_name } = JSON.parse(await ceph.ceph('mgr', 'stat', '-f', 'json')) as { active_name: string }
  return `ceph-mgr-${active_name}`
}

/** And back at once: the monitor takes its first beacon for its predecessor's end, and need not miss that one for 33 s. */
export async function killActiveManager(story: Story): Promise<void> {
  const part = await activeManager(story)
  await killPart(part)
  await startPart(part)
}

/**
 * Kills the active manager between two writes of a clone: when the child's name is there (`rbd_id.NAME`, the first object that
 * librbd makes), and the parent and the child do not know each other yet. Resolves once it was killed; the killed one's `revive`
 * brings it back.
 */
export async function killInClone(
  story: Story,
  child: RbdImage,
): Promise<{ struck: Promise<void>; revive: () => Promise<void> }> {
  const part = await activeManager(story)
  const pid = pidOf(part)
  const script = `
import os, rados, signal, sys, time
pool, name, conf, pid = sys.argv[1:5]
with rados.Rados(conffile=conf, rados_id="admin") as cluster, cluster.open_ioctx(pool) as ioctx:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            ioctx.stat("rbd_id." + name)
            os.kill(int(pid), signal.SIGKILL)
            sys.exit(0)
        except rados.ObjectNotFound:
            pass
sys.exit("nobody began a clone")
`
  const struck = command(['python3', '-c', script, child.pool, child.image, story.lab.ceph.conf, String(pid)])
  return {
    struck: struck.then(() => killPart(part)),
    revive: () => startPart(part),
  }
}

/** Parent and child know each other, and the sizes agree: anything else that bears the name is half made. */
export async function isWholeClone({ ceph }: Story, child: RbdImage): Promise<boolean> {
  const volume = await ceph.find(child.pool, child.image)
  if (!volume?.parent) return false
  const [image = '', snap = ''] = volume.parent.split('@')
  const [pool = '', name = ''] = image.split('/')
  return (await ceph.children(pool, name, snap)).includes(`${child.pool}/${child.image}`)
}
