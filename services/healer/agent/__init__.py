"""The node agent, one per machine: reads metrics, collects evidence, executes remediations.

Consumes: evidence.collect, remediation.execute, item.read, healing.stop, healing.resume.
Publishes: samples.publish, evidence.collected, remediation.executed, item.observed.
"""
