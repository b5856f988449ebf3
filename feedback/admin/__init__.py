from . import action, answer, report, survey

__all__ = ["action", "answer", "report", "survey"]
