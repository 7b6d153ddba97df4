import { build, type BuildResult, type OutputFile } from 'esbuild'
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * One bundle a function, dist/NAME.mjs: what serverless.yml packages and serverless-offline runs. A function's cold start
 * is mostly the reading of its bundle, hence the limit. What serves the functions (bridge, doctor, embedded cloud) is in none.
 */
const root = fileURLToPath(new URL('..', import.meta.url))
const dist = join(root, 'dist')
const mostKib = 700
const forbidden = /^infra\//

/** The AWS SDK has CommonJS parts that call require() for Node's own modules; an ES module has no require. */
const banner = "import{createRequire}from'node:module';const require=createRequire(import.meta.url);"

interface Bundle {
  name: string
  kib: number
  wrong: string | null
}

function functionNames(): string[] {
  return readdirSync(join(root, 'functions'))
    .filter((file) => file.endsWith('.ts'))
    .map((file) => basename(file, '.ts'))
    .sort()
}

function bundle(names: string[]) {
  return build({
    absWorkingDir: root,
    entryPoints: Object.fromEntries(names.map((name) => [name, `functions/${name}.ts`])),
    outdir: 'dist',
    outExtension: { '.js': '.mjs' },
    write: false,
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    mainFields: ['module', 'main'],
    minify: true,
    treeShaking: true,
    sourcemap: 'external',
    banner: { js: banner },
    metafile: true,
    logLevel: 'warning',
  })
}

/** By renaming, so that a serverless-offline at work never reads half a bundle; what is no longer a function goes. */
function write(files: OutputFile[]): void {
  mkdirSync(dist, { recursive: true })
  for (const { path, contents } of files) {
    const unfinished = `${path}.${process.pid}`
    writeFileSync(unfinished, contents)
    renameSync(unfinished, path)
  }
  const written = new Set(files.map((file) => basename(file.path)))
  const stale = readdirSync(dist).filter((file) => /\.mjs(\.map)?$/.test(file) && !written.has(file))
  for (const file of stale) rmSync(join(dist, file), { force: true })
}

function judge(name: string, { metafile }: BuildResult<{ metafile: true }>): Bundle {
  const output = metafile.outputs[`dist/${name}.mjs`]
  if (!output) return { name, kib: 0, wrong: 'was not made' }
  const kib = Math.ceil(output.bytes / 1024)
  if (kib > mostKib) return { name, kib, wrong: `is larger than ${mostKib} KiB` }
  const stranger = Object.keys(output.inputs).find((input) => forbidden.test(input))
  return { name, kib, wrong: stranger === undefined ? null : `holds ${stranger}` }
}

async function main(): Promise<boolean> {
  const names = functionNames()
  // esbuild has said by itself what is wrong
  const result = await bundle(names).catch(() => null)
  if (!result) return false
  write(result.outputFiles)
  const bundles = names.map((name) => judge(name, result))
  const width = Math.max(...names.map((name) => name.length))
  for (const { name, kib, wrong } of bundles) {
    console.log(`${name.padEnd(width)} ${String(kib).padStart(4)} KiB${wrong === null ? '' : `  ${wrong}`}`)
  }
  return bundles.length > 0 && bundles.every((b) => b.wrong === null)
}

process.exitCode = (await main()) ? 0 : 1
