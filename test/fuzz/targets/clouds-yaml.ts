import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openstackEnv as trueEnv } from '../../../infra/cli/clouds-yaml.ts'
import { Failure } from '../../../shared/failures.ts'
import { holds, type Target } from '../target.ts'

/** A clouds.yaml: read, or refused with a code; the text of it is not said, because a password is in it. */
export function cloudsTarget(openstackEnv = trueEnv): Target {
  const file = join(mkdtempSync(join(tmpdir(), 'rbdsnap-fuzz-')), 'clouds.yaml')
  return {
    name: 'clouds-yaml',
    covers: ['infra/cli/clouds-yaml.ts'],
    seeds: () => seeds,
    feed(input) {
      writeFileSync(file, input)
      try {
        const env = openstackEnv({ OS_CLIENT_CONFIG_FILE: file, OS_CLOUD: 'lab', HOME: '/nonexistent' })
        return Object.keys(env).sort().join()
      } catch (error) {
        if (!(error instanceof Failure)) throw error
        holds(error.code === 'BAD_SETTING', `its code is ${error.code}`)
        holds(!error.message.includes('hunter2-and-more'), 'the password is said')
        return error.words.replace(file, '').slice(0, 60)
      }
    },
  }
}

const seeds = [
  `clouds:
  lab:
    auth:
      auth_url: https://keystone.example:5000/v3
      username: rbdsnap
      password: hunter2-and-more
      project_name: service
      user_domain_name: Default
    region_name: RegionOne
    interface: internal
    verify: yes
`,
  `clouds:
  lab: &one {auth: {auth_url: 'https://k/v3', application_credential_id: a, application_credential_secret: hunter2-and-more}, auth_type: v3applicationcredential}
  other: *one
`,
  `{"clouds": {"lab": {"auth": {"auth_url": "https://k", "password": "hunter2-and-more"}, "regions": [{"name": "a"}, "b"]}}}`,
  `clouds: &a\n  lab: *a\n`,
]
