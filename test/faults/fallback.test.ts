import { describeSingleFaults } from './single.ts'

describeSingleFaults('fallback')
