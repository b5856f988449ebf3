from . import answer, report, survey

__all__ = ["answer", "report", "survey"]
