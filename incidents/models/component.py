from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase
from guardian.shortcuts import get_objects_for_user

from channels.models import Recipient

from .words import Severity, new_uid

OPERATE = "incidents.operate_component"
VIEW = "incidents.view_component"


class ComponentGroup(models.Model):
    uid = models.CharField(max_length=12, unique=True, default=new_uid, editable=False)
    name = models.CharField(_("name"), max_length=80, unique=True)
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = _("component group")
        verbose_name_plural = _("component groups")
        ordering = ["position", "name"]

    def __str__(self) -> str:
        return self.name


class ComponentQuerySet(models.QuerySet["Component"]):
    def public(self) -> "ComponentQuerySet":
        """Those that everybody may see and subscribe to."""
        return self.filter(showcase=True, private=False)

    def for_user(self, user: User | AnonymousUser, permission: str = VIEW) -> "ComponentQuerySet":
        """Components a person may see (or operate), by a grant on the model or on the component itself.

        Whoever may operate a component may see it.
        """
        wanted = [VIEW, OPERATE] if permission == VIEW else [permission]
        if not user.is_active:  # nobody logged in, or somebody who left
            return self.none()
        # A grant on the model, by role, counts for every component.
        if any(user.has_perm(p) for p in wanted):  # type: ignore[union-attr, attr-defined]
            return self.all()
        found = get_objects_for_user(user, wanted, klass=Component, any_perm=True, accept_global_perms=False)
        return self.filter(pk__in=found.order_by().values("pk"))


class Component(models.Model):
    """A part of the service as customers know it. Its state follows from the open incidents; nothing stores it."""

    uid = models.CharField(max_length=12, unique=True, default=new_uid, editable=False)
    name = models.CharField(_("name"), max_length=80, unique=True)
    description = models.CharField(_("description"), max_length=200, blank=True)
    group = models.ForeignKey(
        ComponentGroup,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="components",
        verbose_name=_("group"),
    )
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    showcase = models.BooleanField(_("show on the status page"), default=True)
    private = models.BooleanField(
        _("private"),
        default=False,
        help_text=_(
            "Only private status pages show it, and incidents that hit nothing else. Of those only recipients who are "
            "subscribed to this very component are told."
        ),
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ComponentQuerySet.as_manager()

    class Meta:
        verbose_name = _("component")
        verbose_name_plural = _("components")
        ordering = ["group__position", "position", "name"]
        permissions = [("operate_component", "Can work on incidents of this component")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_public(self) -> bool:
        return self.showcase and not self.private


class ComponentUserObjectPermission(UserObjectPermissionBase):
    content_object: Any = models.ForeignKey(Component, on_delete=models.CASCADE)


class ComponentGroupObjectPermission(GroupObjectPermissionBase):
    content_object: Any = models.ForeignKey(Component, on_delete=models.CASCADE)


class Subscription(models.Model):
    """What a recipient wants to hear about: a component, a group with all that it ever holds, or everything.

    Of incidents those at least as severe as `least_severity`; of maintenance all or none.
    """

    recipient = models.ForeignKey(Recipient, on_delete=models.CASCADE, related_name="subscriptions")
    component = models.ForeignKey(
        Component, on_delete=models.CASCADE, null=True, blank=True, related_name="subscriptions"
    )
    group = models.ForeignKey(
        ComponentGroup, on_delete=models.CASCADE, null=True, blank=True, related_name="subscriptions"
    )
    least_severity = models.CharField(_("least severity"), max_length=8, choices=Severity, default=Severity.SEV4)
    maintenance = models.BooleanField(_("maintenance"), default=True)

    class Meta:
        verbose_name = _("subscription")
        verbose_name_plural = _("subscriptions")
        constraints = [
            models.UniqueConstraint(fields=["recipient", "component"], name="subscription_once"),
            models.UniqueConstraint(fields=["recipient", "group"], name="subscription_to_group_once"),
            models.UniqueConstraint(
                fields=["recipient"],
                condition=Q(component__isnull=True, group__isnull=True),
                name="subscription_to_all_once",
            ),
            models.CheckConstraint(
                condition=Q(component__isnull=True) | Q(group__isnull=True),
                name="subscription_to_component_or_group",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.recipient} → {self.component or self.group or _('all components')}"
