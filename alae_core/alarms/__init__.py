"""Training alarms: the rules, and the alarms of the IntroVAE family and of translators."""

from alae_core.alarms.rules import Alarm, Raised, Record, Window, raised

__all__ = ["Alarm", "Raised", "Record", "Window", "raised"]
