import { describeSingleFaults } from './single.ts'

describeSingleFaults('take-over')
