"""The node agent: one a machine; reads its metrics, finds causes, carries out remediations.

Consumes: evidence.collect, remediation.execute, item.read, healing.stop, healing.resume.
Publishes: samples.publish, evidence.collected, remediation.executed, item.observed.
"""
