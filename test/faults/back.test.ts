import { describeSingleFaults } from './single.ts'

describeSingleFaults('back')
