import { readFileSync } from 'node:fs'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { Failure } from '../../shared/failures.ts'

/**
 * For this process: Node reads NODE_EXTRA_CA_CERTS when it starts, before clouds.yaml was looked at. Processes that are started
 * with the settings read it themselves.
 */
export function trustAuthority(settings: Record<string, string>): void {
  const path = settings['NODE_EXTRA_CA_CERTS']
  if (path === undefined || path === process.env['NODE_EXTRA_CA_CERTS']) return
  try {
    setDefaultCACertificates([...getCACertificates('default'), readFileSync(path, 'utf8')])
  } catch (error) {
    throw new Failure('BAD_SETTING', `cacert: ${path} cannot be read: ${(error as Error).message}`)
  }
}
