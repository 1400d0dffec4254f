// Evaluates requests against IAM policies: JSON of simulations on stdin, of their outcomes on stdout.
// usage: node policies.mjs FOLDER_OF_THE_EVALUATOR
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

const { runSimulation } = await import(pathToFileURL(`${process.argv[2]}/dist/esm/index.js`))
const outcomes = []
for (const simulation of JSON.parse(readFileSync(0))) {
  const found = await runSimulation(simulation, { simulationMode: 'Strict' })
  outcomes.push(found.resultType === 'error' ? JSON.stringify(found.errors) : found.overallResult)
}
console.log(JSON.stringify(outcomes))
