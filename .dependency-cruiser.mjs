/**
 * Who may import whom: functions -> shared (pure) -> ports; adapters only where everything is put together. The rules are
 * run by infra/check/dependencies.ts, which also counts the modules, because a cruise that finds nothing finds no fault.
 */
const sdk = '(^|/)node_modules/(@aws-sdk|@smithy|amqplib|fauxqs)/'
const outsideWorld = '^(node:)?(https?|http2|net|tls|dgram|child_process|sqlite|worker_threads)$'

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    {
      name: 'no-cycle',
      comment: 'Types count too: two files that need each other are one file.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'resolves',
      comment: 'An import that leads nowhere would hide from every other rule.',
      severity: 'error',
      from: { pathNot: '(^|/)node_modules/' },
      to: { couldNotResolve: true },
    },
    {
      name: 'function-is-pure',
      comment: 'A function imports pure files of shared/ and shared/lambda.ts: no adapter, no SDK, nothing of infra/.',
      severity: 'error',
      from: { path: '^functions/' },
      to: { pathNot: ['^shared/(?!compose\\.)[^/]+\\.ts$', '^shared/ports/', '^functions/'] },
    },
    {
      name: 'function-stands-alone',
      comment: 'Functions meet in queues, not in imports.',
      severity: 'error',
      from: { path: '^functions/' },
      to: { path: '^functions/' },
    },
    {
      name: 'outside-world-through-adapters',
      comment: 'SDKs, sockets, processes and databases belong to adapters, to the composition root and to infra/.',
      severity: 'error',
      from: { pathNot: ['^shared/adapters/', '^shared/compose\\.ts$', '^infra/', '^test/', '(^|/)node_modules/'] },
      to: { path: [sdk, outsideWorld] },
    },
    {
      name: 'middy-in-lambda-only',
      comment: 'shared/lambda.ts alone knows what a Lambda is.',
      severity: 'error',
      from: { pathNot: ['^shared/lambda\\.ts$', '(^|/)node_modules/'] },
      to: { path: '(^|/)node_modules/@middy/' },
    },
    {
      name: 'tests-are-not-imported',
      comment: 'What the product needs is not kept in test/.',
      severity: 'error',
      from: { pathNot: '^test/' },
      to: { path: '^test/' },
    },
    {
      name: 'adapters-are-composed',
      comment: 'Only shared/compose.ts, infra/ and tests choose an adapter; all else asks for a port.',
      severity: 'error',
      from: { pathNot: ['^shared/adapters/', '^shared/compose\\.ts$', '^infra/', '^test/'] },
      to: { path: '^shared/adapters/' },
    },
    {
      name: 'shared-looks-inward',
      comment: 'shared/ knows neither who calls it nor where it runs.',
      severity: 'error',
      from: { path: '^shared/' },
      to: { path: '^(infra|functions)/' },
    },
    {
      name: 'ports-are-types',
      comment: 'A port is an interface: it takes types from shared/, and nothing else from anywhere.',
      severity: 'error',
      from: { path: '^shared/ports/' },
      to: { dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'ports-stay-in-shared',
      comment: 'A port names no product, hence no package.',
      severity: 'error',
      from: { path: '^shared/ports/' },
      to: { pathNot: '^shared/(?!adapters/)' },
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    doNotFollow: { path: '(^|/)node_modules/' },
    moduleSystems: ['es6'],
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'types', 'default'] },
  },
}
