import { describeSingleFaults } from './single.ts'

describeSingleFaults('clone')
