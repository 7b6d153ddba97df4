import { mkdirSync, rmSync } from 'node:fs'
import { command } from './command.ts'
import { etc, inLab, logOf } from './folders.ts'
import { laidOver, writeIni } from './ini.ts'
import type { Part } from './part.ts'
import { host, ports } from './ports.ts'
import { password } from './secrets.ts'

const data = inLab('mariadb')
const socket = inLab('run', 'mariadb.sock')

export const mariadb: Part = {
  name: 'mariadb',
  needs: ['packages'],
  async make() {
    rmSync(data, { recursive: true, force: true })
    mkdirSync(data, { recursive: true })
    const where = ['--no-defaults', '--user=root', `--datadir=${data}`]
    const how = ['--auth-root-authentication-method=socket', '--skip-test-db']
    await command(['mariadb-install-db', ...where, ...how], { log: logOf('mariadb') })
  },
  program(settings) {
    const own = {
      user: 'root',
      datadir: data,
      socket,
      'bind-address': host,
      port: ports.mariadb,
      'pid-file': inLab('run', 'mariadbd.pid'),
      'skip-name-resolve': 1,
      'max-connections': 1000,
      'character-set-server': 'utf8mb3',
      'collation-server': 'utf8mb3_general_ci',
      'innodb-buffer-pool-size': '256M',
      // A crash of the machine may cost the last second of a lab.
      'innodb-flush-log-at-trx-commit': 0,
    }
    const conf = writeIni(etc('mariadb', 'my.cnf'), laidOver({ mariadbd: own }, settings))
    return { argv: ['mariadbd', `--defaults-file=${conf}`], shows: 'mariadbd' }
  },
  isReady: () => sql('select 1').then(() => true),
}

/** As the database's root; what it says, without headings. */
export async function sql(text: string): Promise<string> {
  return (await command(['mariadb', '--no-defaults', '-uroot', `--socket=${socket}`, '-N'], { input: text })).trim()
}

/** An empty database that the lab's services may use. */
export async function emptyDatabase(name: string): Promise<void> {
  const user = `'openstack'@'${host}'`
  await sql(`
    drop database if exists ${name};
    create database ${name};
    create user if not exists ${user} identified by '${password()}';
    grant all on ${name}.* to ${user};
  `)
}

export const databaseUrl = (name: string): string =>
  `mysql+pymysql://openstack:${password()}@${host}:${ports.mariadb}/${name}`
