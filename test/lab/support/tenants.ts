import { randomBytes } from 'node:crypto'
import type { Lab, Person } from '../../../infra/lab/lab.ts'
import { signIn } from './rest.ts'

/** A project with one member, for one story: what is in it is that story's, and its engine serves nobody else. */
export async function newTenant(lab: Lab): Promise<{ person: Person; remove: () => Promise<void> }> {
  const admin = signIn(lab, lab.people.admin)
  const name = `story-${randomBytes(4).toString('hex')}`
  const password = randomBytes(12).toString('hex')
  const { project } = await admin.must<{ project: { id: string } }>('POST', `${lab.authUrl}/projects`, {
    body: { project: { name, domain_id: 'default' } },
  })
  const { user } = await admin.must<{ user: { id: string } }>('POST', `${lab.authUrl}/users`, {
    body: { user: { name, password, domain_id: 'default' } },
  })
  const { roles } = await admin.must<{ roles: { id: string }[] }>('GET', `${lab.authUrl}/roles?name=member`)
  const role = roles[0]?.id ?? ''
  await admin.must('PUT', `${lab.authUrl}/projects/${project.id}/users/${user.id}/roles/${role}`)
  return {
    person: { name, password, project: name, projectId: project.id },
    async remove() {
      await admin.must('DELETE', `${lab.authUrl}/users/${user.id}`)
      await admin.must('DELETE', `${lab.authUrl}/projects/${project.id}`)
    },
  }
}
