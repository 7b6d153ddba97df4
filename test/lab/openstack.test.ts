import { readLab } from '../../infra/lab/lab.ts'
import { describeCompute } from '../contract/compute.contract.ts'
import { describeIdentity } from '../contract/identity.contract.ts'
import { describeImages } from '../contract/images.contract.ts'
import { computeWorld, identityWorld, imagesWorld } from './lab-openstack.ts'

const lab = readLab()

describeIdentity('Keystone', () => identityWorld(lab))
describeImages('Glance', () => imagesWorld(lab))
describeCompute('Nova', () => computeWorld(lab))
