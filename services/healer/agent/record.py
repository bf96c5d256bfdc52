"""``python -m services.healer.agent.record FILE``: write what the agent would send."""

from shared import entry

if __name__ == "__main__":
    entry.run("services.healer.agent.recording")
