"""The law of a decision, sentence by sentence, asked through the public doors only: bundles, `pdp`, commands, HTTP."""
