// Every call the board advises, one a line; tests/widgets/test_advice.py makes sure that each can be made.
export const ADVICE = {
  scores: 'attribute(run, model, train, test, method="trak")',
  moreScores: 'attribute(run, model, train, test, method="trak", epochs=[...])',
  record: "Recorder(run, model, train=..., test=...)",
  replay: "training_of_run(run, ...)",
  smooth: "metasmoothness(run, training=training)",
  lds: "lds_over_time(run, training=training)",
  removal: "counterfactual_check(run, remove=ids, training=training)",
  whatIf: "what_if(run, train=ids, test=id)",
  allow: "explore(run, training=training)",
} as const;
