import { expect, it } from 'vitest'
import { run } from '../../shared/adapters/rbd-process.ts'

it('a command that cannot be started is a wrong setting, and is named: it may be rbd or ceph', async () => {
  const command = ['/nowhere/ceph', '--verbose']
  const asked = run(
    { command, conf: '/etc/ceph/ceph.conf', user: null },
    "the cluster's health",
    [],
    AbortSignal.timeout(5_000),
  )
  await expect(asked).rejects.toMatchObject({
    code: 'BAD_SETTING',
    words: expect.stringContaining("the cluster's health: the command /nowhere/ceph cannot be started: "),
  })
})
