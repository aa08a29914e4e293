"""The plant: its tree, and its meters."""

from __future__ import annotations

from collections import defaultdict

from fastapi import APIRouter, Depends

from emsd.api.dependencies import CurrentConfiguration
from emsd.api.parameters import MeterKey, refuse_unknown_parameters
from emsd.api.problems import problem_responses, raise_unknown
from emsd.api.schemas.plant import AreaNode, AssetNode, MeterDetail, MeterList, MeterNode, PlantTree
from emsd.store.plant_view import MeterRow, PlantView

__all__ = ["meter_called", "router"]

router = APIRouter(prefix="/api/v1", tags=["plant"], dependencies=[Depends(refuse_unknown_parameters)])


@router.get("/plant", summary="The plant as a tree", responses=problem_responses(422, 503))
async def read_plant(configuration: CurrentConfiguration) -> PlantTree:
    """Return the site with its areas, their assets and their meters, as configured now."""
    plant = configuration.plant
    site = plant.site
    return PlantTree(
        name=site.name,
        time_zone=site.time_zone,
        contract_demand_kw=site.contract_demand_kw,
        carbon_region=site.carbon_region,
        latitude=site.latitude,
        longitude=site.longitude,
        areas=_area_nodes(plant),
    )


@router.get("/meters", summary="All meters", responses=problem_responses(422, 503))
async def list_meters(configuration: CurrentConfiguration) -> MeterList:
    """Return every meter of the site with its asset, areas and connection, virtual and derived ones too."""
    plant = configuration.plant
    children = _children(plant)
    return MeterList(meters=[_detail(plant, meter, children) for meter in plant.meters.values()])


@router.get("/meters/{key}", summary="One meter", responses=problem_responses(404, 422, 503))
async def read_meter(key: MeterKey, configuration: CurrentConfiguration) -> MeterDetail:
    """Return one meter with its asset, areas and connection."""
    plant = configuration.plant
    return _detail(plant, meter_called(plant, key), _children(plant))


def meter_called(plant: PlantView, key: str) -> MeterRow:
    """Return the meter of this key; answers 404, naming keys that are close, when there is none."""
    meter = plant.meter_by_key.get(key)
    return raise_unknown("meter", key, plant.meter_by_key) if meter is None else meter


def _area_nodes(plant: PlantView) -> list[AreaNode]:
    meters: dict[int, list[MeterNode]] = defaultdict(list)
    for meter in plant.meters.values():
        if meter.kind == "derived":
            continue
        meters[meter.asset_id].append(MeterNode(**_node_fields(plant, meter)))
    assets: dict[int, list[AssetNode]] = defaultdict(list)
    for asset in plant.assets.values():
        assets[asset.area_id].append(
            AssetNode(
                key=asset.key,
                name=asset.name,
                kind=asset.kind,
                rated_power_kw=asset.rated_power_kw,
                meters=meters[asset.asset_id],
            )
        )
    below: dict[int | None, list[int]] = defaultdict(list)
    for area in plant.areas.values():
        below[area.parent_area_id].append(area.area_id)

    def node(area_id: int) -> AreaNode:
        area = plant.areas[area_id]
        return AreaNode(
            key=area.key,
            name=area.name,
            stage=area.stage,
            floor_area_m2=area.floor_area_m2,
            assets=assets[area_id],
            areas=[node(each) for each in below[area_id]],
        )

    return [node(area_id) for area_id in below[None]]


def _children(plant: PlantView) -> dict[int, list[str]]:
    children: dict[int, list[str]] = defaultdict(list)
    for meter in plant.meters.values():
        if meter.parent_meter_id is not None:
            children[meter.parent_meter_id].append(meter.key)
    return children


def _node_fields(plant: PlantView, meter: MeterRow) -> dict[str, object]:
    parent = None if meter.parent_meter_id is None else plant.meters.get(meter.parent_meter_id)
    return {
        "key": meter.key,
        "name": meter.name,
        "meter_id": meter.meter_id,
        "kind": meter.kind,
        "measures_energy": meter.measures_energy,
        "counts": meter.counts,
        "parent": None if parent is None else parent.key,
    }


def _detail(plant: PlantView, meter: MeterRow, children: dict[int, list[str]]) -> MeterDetail:
    asset = plant.asset_of(meter)
    return MeterDetail(
        **_node_fields(plant, meter),
        asset=None if asset is None else asset.key,
        asset_kind=None if asset is None else asset.kind,
        areas=[] if asset is None else [area.key for area in plant.areas_above(asset.area_id)],
        children=children.get(meter.meter_id, []),
        profile=meter.profile,
        connection=meter.connection,
        address=meter.address,
        poll_interval_s=meter.poll_interval_s,
        rated_power_kw=meter.rated_power_kw,
        max_gap_s=meter.max_gap_s,
    )
