import { restartPart } from '../../../infra/lab/control.ts'
import type { Lab } from '../../../infra/lab/lab.ts'

/** The hypervisor keeps new disks in a second Ceph, which Glance does not know: no image can be cloned there, Nova copies it. */
export async function novaOnOtherCluster({ otherCeph }: Pick<Lab, 'otherCeph'>): Promise<void> {
  await restartPart('nova-compute', { libvirt: { images_rbd_ceph_conf: otherCeph.conf } })
}

export async function novaOnHomeCluster(): Promise<void> {
  await restartPart('nova-compute')
}
