import { describeSingleFaults } from './single.ts'

describeSingleFaults('policy')
