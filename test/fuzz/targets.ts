import type { Target } from './target.ts'
import { cephTarget, glanceTarget, keystoneTarget, novaTarget } from './targets/answers.ts'
import { cloudsTarget } from './targets/clouds-yaml.ts'
import { commandTarget } from './targets/command.ts'
import { configTarget } from './targets/config.ts'
import { messageTarget } from './targets/message.ts'
import { notificationTarget } from './targets/notification.ts'
import { rpcTarget } from './targets/rpc.ts'
import { rulesTarget } from './targets/rules.ts'

/** Made when they are needed: some change the process's environment. */
export const targets: Record<string, () => Target> = {
  notification: notificationTarget,
  message: messageTarget,
  rules: rulesTarget,
  config: configTarget,
  keystone: keystoneTarget,
  nova: novaTarget,
  glance: glanceTarget,
  ceph: cephTarget,
  rpc: rpcTarget,
  command: commandTarget,
  'clouds-yaml': cloudsTarget,
}
