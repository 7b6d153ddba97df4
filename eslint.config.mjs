import { defineConfig, globalIgnores } from 'eslint/config'
import tseslint from 'typescript-eslint'

/** Of ESLint's own rules those that neither the compiler nor typescript-eslint brings. */
const plainRules = {
  eqeqeq: ['error', 'always', { null: 'ignore' }],
  'no-cond-assign': 'error',
  'no-constant-condition': 'error',
  'no-control-regex': 'error',
  'no-debugger': 'error',
  'no-dupe-else-if': 'error',
  'no-empty': 'error',
  'no-empty-pattern': 'error',
  'no-fallthrough': 'error',
  'no-misleading-character-class': 'error',
  'no-self-assign': 'error',
  'no-self-compare': 'error',
  'no-unreachable-loop': 'error',
  'no-unsafe-finally': 'error',
  'no-unsafe-optional-chaining': 'error',
  'no-useless-escape': 'error',
  'no-var': 'error',
  'prefer-const': 'error',
  'require-yield': 'error',
}

/** Where the product decides anything, time, settings and output come from outside (shared/step.ts Context). */
const pureRules = {
  'no-restricted-globals': ['error', 'process', 'console', 'fetch', 'setTimeout', 'setInterval'],
  'no-restricted-properties': [
    'error',
    { object: 'Date', property: 'now', message: 'The time is ctx.clock.nowMs().' },
    { object: 'Math', property: 'random', message: 'What is random comes with the context.' },
  ],
}

export default defineConfig(
  globalIgnores(['dist/', 'coverage/', '.serverless/', '.serverless-offline/']),
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  { files: ['**/*.mjs', '**/*.ts'], rules: plainRules },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-floating-promises': ['error', { checkThenables: true }],
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      'no-restricted-syntax': [
        'error',
        { selector: 'ExportDefaultDeclaration', message: 'One name everywhere: export it by name.' },
        { selector: 'ExportAllDeclaration', message: 'Import from the file that has it, not through another.' },
      ],
      // Numbers and booleans read the same in a sentence as anywhere else; what is left is what prints as [object Object].
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      // `if (done) return controller.close()` is one thought and stays one line.
      '@typescript-eslint/no-confusing-void-expression': 'off',
      // A decision on one variant leaves the rest to `default`.
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      // Records keyed by a name or an id lose entries by it.
      '@typescript-eslint/no-dynamic-delete': 'off',
      // It refuses Promise.withResolvers<void>().
      '@typescript-eslint/no-invalid-void-type': 'off',
      // Spreading a string into its code points is how a name is cut to a length without breaking a character.
      '@typescript-eslint/no-misused-spread': ['error', { allow: ['string'] }],
      // An adapter that needs no await (node:sqlite) is async all the same: its port's failures are rejections, never throws.
      '@typescript-eslint/require-await': 'off',
      // Ports and services are object literals made by functions; there is no `this` to lose.
      '@typescript-eslint/unbound-method': 'off',
      // A row's type is named once, where its SQL stands: all<Row>('SELECT ...').
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
      // It takes a flag that a callback sets for a constant, and believes lib.es (JSON.stringify can give undefined).
      '@typescript-eslint/no-unnecessary-condition': 'off',
      // noUnusedLocals and noUnusedParameters say it already, and know that `typeof schema` in a type is a use.
      '@typescript-eslint/no-unused-vars': 'off',
    },
  },
  {
    files: ['functions/*.ts', 'shared/*.ts'],
    ignores: ['shared/lambda.ts', 'shared/compose.ts'],
    rules: pureRules,
  },
  {
    // A value that is not there fails the test where it is asked for, a failure may print whatever it likes, and vitest's
    // matchers (expect.any) are of the type any.
    files: ['test/**/*.ts'],
    rules: {
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-base-to-string': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
    },
  },
  // The tools' own settings: not part of the program that is type-checked, and read by their default export.
  {
    files: ['*.ts', 'test/*/vitest.config.ts'],
    extends: [tseslint.configs.disableTypeChecked],
    rules: { 'no-restricted-syntax': 'off' },
  },
)
