"""Hospitals that train one model together, while their patients' data stay where they are.

Flower carries the messages. `local.simulate` runs the same app in one process.

- `hospitals`: three hospitals that differ by scanner, reader and size, and a fourth one.
- `candidates`, `detection`, `tasks`: what they can learn, a small classifier of candidates
  or the whole detector.
- `learning`: what a hospital computes in a round.
- `privacy`: differential privacy for patients, with an accountant and a ledger.
- `settings`, `server`, `client`, `robust_aggregation`, `vote`, `compact`: the Flower app.
- `sealed`: JSON files with a checksum.
- `attacks`: what an update or a model gives away.
- `certificates`: TLS for a federation of several machines.
"""
