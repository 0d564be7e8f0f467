package domain

import (
	"encoding/json"
	"math"
	"strconv"
)

// Geo conditions. A document's point is {"lat", "lon"} (also "latitude",
// "longitude", "lng") or a GeoJSON Point. A bare pair of numbers is none: its
// order is anybody's guess. Values:
//
//	geo_radius        {"center": {"lat", "lon"}, "radius": metres}, the edge inside
//	geo_bounding_box  {"top_left": {…}, "bottom_right": {…}}, the edge inside; a left
//	                  edge east of the right one crosses the date line
//	geo_polygon       {"exterior": {"points": […]}, "interiors": [{"points": […]}]} or
//	                  lists in place of {"points"}; straight edges on the plain of
//	                  longitude and latitude, not across the date line
//
// Distances are great circles on a sphere of the earth's mean radius (haversine).

const earthRadius = 6371008.8 // metres, IUGG mean radius R1

type geoPoint struct{ lat, lon float64 }

type geoArea interface{ contains(geoPoint) bool }

type geoCircle struct {
	center geoPoint
	radius float64
}

type geoBox struct{ topLeft, bottomRight geoPoint }

type geoShape struct {
	exterior  []geoPoint
	interiors [][]geoPoint
}

func (c geoCircle) contains(p geoPoint) bool {
	rad := func(deg float64) float64 { return deg * (math.Pi / 180) }
	a, b := math.Sin(rad(p.lat-c.center.lat)/2), math.Sin(rad(p.lon-c.center.lon)/2)
	// Conversions keep a compiler from fusing, so that all machines agree.
	h := float64(a*a) + float64(float64(math.Cos(rad(c.center.lat))*math.Cos(rad(p.lat)))*float64(b*b))
	return float64(2*earthRadius)*math.Asin(math.Sqrt(min(h, 1))) <= c.radius
}

func (b geoBox) contains(p geoPoint) bool {
	if p.lat > b.topLeft.lat || p.lat < b.bottomRight.lat {
		return false
	}
	if b.topLeft.lon > b.bottomRight.lon {
		return p.lon >= b.topLeft.lon || p.lon <= b.bottomRight.lon
	}
	return p.lon >= b.topLeft.lon && p.lon <= b.bottomRight.lon
}

func (s geoShape) contains(p geoPoint) bool {
	for _, ring := range s.interiors {
		if insideRing(ring, p) {
			return false
		}
	}
	return insideRing(s.exterior, p)
}

// insideRing is the even-odd rule: a ray to the east crosses an odd number of edges.
func insideRing(ring []geoPoint, p geoPoint) bool {
	inside := false
	for i, j := 0, len(ring)-1; i < len(ring); j, i = i, i+1 {
		a, b := ring[i], ring[j]
		if (a.lat > p.lat) == (b.lat > p.lat) {
			continue
		}
		if p.lon < float64(float64((b.lon-a.lon)*(p.lat-a.lat))/(b.lat-a.lat))+a.lon {
			inside = !inside
		}
	}
	return inside
}

func geoNumber(v any) (float64, bool) {
	switch n := v.(type) {
	case json.Number:
		f, err := strconv.ParseFloat(string(n), 64)
		return f, err == nil
	case float64:
		return n, !math.IsNaN(n) && !math.IsInf(n, 0)
	case string:
		if !isNumberText(n) {
			return 0, false
		}
		f, err := strconv.ParseFloat(n, 64)
		return f, err == nil
	}
	s, ok := numberText(v)
	if !ok {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

func geoPointOf(v any) (geoPoint, bool) {
	m, ok := v.(map[string]any)
	if !ok {
		return geoPoint{}, false
	}
	var lat, lon any
	if xy, isJSON := m["coordinates"].([]any); isJSON && len(xy) >= 2 && m["type"] == "Point" {
		lon, lat = xy[0], xy[1]
	} else {
		lat, lon = firstOf(m, "lat", "latitude"), firstOf(m, "lon", "lng", "longitude")
	}
	y, ok1 := geoNumber(lat)
	x, ok2 := geoNumber(lon)
	if !ok1 || !ok2 || y < -90 || y > 90 || x < -180 || x > 180 {
		return geoPoint{}, false
	}
	return geoPoint{lat: y, lon: x}, true
}

func firstOf(m map[string]any, keys ...string) any {
	for _, k := range keys {
		if v, ok := m[k]; ok {
			return v
		}
	}
	return nil
}

const geoPointForm = "a point {\"lat\": -90…90, \"lon\": -180…180}"

func parseGeoArea(path string, op FilterOp, v any) (geoArea, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, Invalid(path, "type", "the operator %s takes an object, not %s", op, valueKind(v))
	}
	switch op {
	case OpGeoRadius:
		center, ok := geoPointOf(m["center"])
		if !ok {
			return nil, Invalid(path+".center", "type", "must be %s", geoPointForm)
		}
		radius, ok := geoNumber(m["radius"])
		if !ok || radius < 0 {
			return nil, Invalid(path+".radius", "type", "must be a number of metres, 0 or more")
		}
		return geoCircle{center, radius}, nil
	case OpGeoBoundingBox:
		tl, ok := geoPointOf(m["top_left"])
		if !ok {
			return nil, Invalid(path+".top_left", "type", "must be %s", geoPointForm)
		}
		br, ok := geoPointOf(m["bottom_right"])
		if !ok {
			return nil, Invalid(path+".bottom_right", "type", "must be %s", geoPointForm)
		}
		if tl.lat < br.lat {
			return nil, Invalid(path+".top_left.lat", "range", "must not be south of bottom_right.lat")
		}
		return geoBox{tl, br}, nil
	}
	exterior, err := parseGeoRing(path+".exterior", m["exterior"])
	if err != nil {
		return nil, err
	}
	s := geoShape{exterior: exterior}
	switch list := m["interiors"].(type) {
	case nil:
	case []any:
		for i, e := range list {
			ring, err := parseGeoRing(path+".interiors["+strconv.Itoa(i)+"]", e)
			if err != nil {
				return nil, err
			}
			s.interiors = append(s.interiors, ring)
		}
	default:
		return nil, Invalid(path+".interiors", "type", "must be a list of rings, not %s", valueKind(list))
	}
	return s, nil
}

func parseGeoRing(path string, v any) ([]geoPoint, error) {
	if m, ok := v.(map[string]any); ok {
		v, path = m["points"], path+".points"
	}
	list, ok := v.([]any)
	switch {
	case !ok || len(list) < 3:
		return nil, Invalid(path, "type", "must be a list of at least three points")
	case len(list) > MaxFilterList:
		return nil, Invalid(path, "range", "has %d points; at most %d are read", len(list), MaxFilterList)
	}
	ring := make([]geoPoint, len(list))
	for i, e := range list {
		if ring[i], ok = geoPointOf(e); !ok {
			return nil, Invalid(path+"["+strconv.Itoa(i)+"]", "type", "must be %s", geoPointForm)
		}
	}
	return ring, nil
}
