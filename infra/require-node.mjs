// Runs before every script. A missing `node` package (npm ci --ignore-scripts, or an npm that blocks install
// scripts) falls back to the machine's Node without a word; this says so instead.
const major = Number(process.versions.node.split('.')[0])
if (major < 24) {
  console.error(
    `rbdsnap needs Node 24 and this is ${process.version}. The package "node" in devDependencies brings it:\n` +
      'run "npm ci" without --ignore-scripts, and start everything through "npm run ...".',
  )
  process.exit(1)
}
