"""Definitions: registering entities, views, tables and services, and finding them."""

from mlstore.engine.lineage import CatalogEntries
from mlstore.engine.search import computable_views, search_catalog
from mlstore.engine.writing import registration
from mlstore.engine.writing.backfilling import begin_live
from mlstore.face.base import Face, user
from mlstore.schema.functions import import_module
from mlstore.schema.record import Definition
from mlstore.schema.window_view import WindowView


class Definitions(Face):
    """What is registered."""

    def plan(self, *definitions: Definition) -> registration.Plan:
        """What `apply` would change, without changing it.

        Parameters
        ----------
        *definitions : Entity, FeatureView, WindowView, OnDemandView, Table, FeatureService
            In any order. What they refer to must be among them or registered already.

        Returns
        -------
        Plan
            Its `changes` say for each definition: create, evolve, new_version or unchanged. True if anything changes.

        Raises
        ------
        DefinitionError, UnknownNameError, AlreadyExistsError
            Where `apply` would.
        """
        with self._session.reading() as context:
            steps = registration.plan_registration(context.catalog, definitions)
        return registration.Plan(tuple(step.change for step in steps))

    def apply(self, *definitions: Definition, message: str = "", author: str = "") -> registration.Plan:
        """Register definitions, or evolve them; all or nothing, and nothing at all if all are as they were.

        Added features, wider numbers, and changes of description, owner, tags, ttl or retention happen in place: old data
        stays readable, added features read as null in it. Any other change makes a new version of the view (`weather@2`), which
        starts empty; the old one stays readable under its number.

        Returns
        -------
        Plan
            What was changed.
        """
        with self._session.reading() as context:
            if not any(step.entry for step in registration.plan_registration(context.catalog, definitions)):
                return self.plan(*definitions)
        with self._session.writing() as writing:
            steps = registration.plan_registration(writing.catalog, definitions)
            plan = registration.apply_registration(writing, steps, author=author or user(), message=message)
        for step in steps:
            if step.entry is not None and isinstance(step.entry.definition, WindowView):
                begin_live(self._session, step.entry.name)
        return plan

    def catalog(
        self, search: str | None = None, *, tag: str | None = None, owner: str | None = None, kind: str | None = None
    ) -> CatalogEntries:
        """The definitions, latest revision of each version.

        Parameters
        ----------
        search : str, optional
            Only those whose name, description, features or tags contain this text, whatever the case.
        tag : str, optional
            Only those with this tag: "tier", or "tier=gold".
        owner, kind : str, optional
            Only those of this owner; of this kind: entity, view, window, table, on_demand, service.

        Returns
        -------
        CatalogEntries
            A list of `CatalogEntry`. Its `lineage` is what they are made from and what is made from them, directly or not: which
            entities, tables and views, for which services.
        """
        with self._session.reading() as context:
            found = search_catalog(context.catalog, search, tag=tag, owner=owner, kind=kind)
            return CatalogEntries(found, context.catalog)

    def use(self, *modules: str) -> tuple[str, ...]:
        """Import modules that define on-demand functions, so that this process can compute what they compute.

        The file names functions and knows them by hash, but nothing in it is ever run, and nothing is imported because a file says so:
        only what is named here. Importing a module yourself does the same.

        Parameters
        ----------
        *modules : str
            "features.risk", or "features.risk:score" as the catalogue has it. None: nothing is imported.

        Returns
        -------
        tuple of str
            The on-demand views that can be computed now, `view@2` where it is not the first version.

        Raises
        ------
        UsageError
            A module that cannot be imported.
        FunctionMissingError
            A view of one of these modules whose newest version is not what the module defines.
        """
        names = [name.partition(":")[0] for name in modules]
        for name in names:
            import_module(name)
        with self._session.reading() as context:
            return computable_views(context.catalog, names)
