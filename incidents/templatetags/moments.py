"""How staff pages write a time. Django's own date format leaves the zone out in the hour that comes twice in autumn."""

from django import template

from incidents import forms, rendering

register = template.Library()
register.filter("moment", rendering.moment)
register.filter("which_pass", forms.which_pass)
