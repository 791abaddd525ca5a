"""The pure compiler: desired state to artefacts, artefacts and snapshot to plan. No I/O."""
