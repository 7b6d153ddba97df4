import { afterAll } from 'vitest'
import { readLab } from '../../infra/lab/lab.ts'
import { describeGuest } from '../contract/guest.contract.ts'
import { agentWorld, guestScene, libvirtGuest, pauseWorld, rpcGuest } from './lab-guest.ts'

const lab = readLab()
const scene = guestScene(lab)
afterAll(() => scene.close())

describeGuest("Nova's pause", async () => pauseWorld(scene))
describeGuest('libvirt', async () => agentWorld(scene, libvirtGuest(lab)))
// Last: its calls to an agent that hangs keep nova-compute waiting, and all that comes after them.
describeGuest("Nova's RPC", async () => agentWorld(scene, rpcGuest(lab)))
